"""The report of a comparison: one content, written as Markdown, HTML, CSV and pictures. It only reads a summary."""
