"""Other people's worlds: every habit of environments that agents may meet, and what each agent does with it."""
