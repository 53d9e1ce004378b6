"""Average precision from stored matches, with bootstrap intervals and paired differences."""
