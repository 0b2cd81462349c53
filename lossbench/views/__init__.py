"""From plain data to pictures and text; computes no statistic."""
