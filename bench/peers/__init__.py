"""Compare Flyball with other engines: same file, threads and lengths, interleaved. See bench/peers/run --help."""
