"""Try what this package promises on other releases of Ultralytics."""
