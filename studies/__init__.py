"""What only the developers need: experiments behind docs/RESULTS.md, benchmarks, torture, the export to BasicSR."""
