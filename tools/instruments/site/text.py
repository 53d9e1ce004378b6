"""Lines of Chinese pages, whose breaks a browser would show as spaces."""

import re

_WIDE = r"[\u2014\u2018-\u201d\u2026\u3000-\u9fff\uff00-\uffef]"
_BREAK = re.compile(rf"(?<={_WIDE})\n *(?={_WIDE})")
_CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def joined(markdown: str) -> str:
    """Return Markdown without the line breaks between two Chinese characters or marks; code stays."""
    parts = _CODE.split(markdown)
    parts[::2] = [_BREAK.sub("", part) for part in parts[::2]]
    return "".join(parts)
