"""Parameter counts that papers and releases print, reproduced with the blocks of this package."""
