"""Shows run directories while runs go on: a live page for the browser, and the same in a terminal. It only reads files."""
