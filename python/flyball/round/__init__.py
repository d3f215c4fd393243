"""An evidence round: all that judges a model on this machine, run in turn, on one page."""
