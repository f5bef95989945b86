"""Problems: their sources, how rows are read, and how a question becomes a prompt."""
