"""How fast a training is at N ranks: what was measured, and what follows from it by arithmetic. Needs no torch."""
