//! Centrifuge client protocol v2: a pure codec over neutral commands.
