"""What the dialogue decides with: the user's words, the history, the end of a turn, speech over an answer."""
