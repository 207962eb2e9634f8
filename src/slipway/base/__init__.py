"""What everything else stands on: errors, ids, clock, money, callers. Standard library only."""
