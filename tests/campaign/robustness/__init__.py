"""Test with random cases and injected faults, judge the outcomes, and write the page of counts."""
