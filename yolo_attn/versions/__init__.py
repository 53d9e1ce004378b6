"""The releases of Ultralytics and torch that this package works with: the window, the contract, and how it is tried."""
