"""Render the results of a comparison as Markdown, HTML, CSV and plots."""
