"""Learning curves of control agents within a stated budget: same environments, same seeds, same measure."""
