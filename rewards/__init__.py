"""Pure functions over plain values: answers, scenarios, reward schemes, group advantages."""
