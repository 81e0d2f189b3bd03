"""Beyond one machine, on Ray (the extra `cluster`): environments on workers, acted in as if they were here."""
