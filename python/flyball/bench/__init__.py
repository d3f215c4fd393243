"""Speed measurements and comparisons of builds."""
