"""Ways of fine-tuning compared over seeds: cases, runs, results with intervals."""
