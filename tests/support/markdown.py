"""Read Markdown tables."""


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of every line of a text that belongs to a Markdown table, rules left out."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [line for line in lines if set("".join(line)) - set("-:")]
