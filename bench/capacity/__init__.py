"""How large Flyball grows: costs measured here, the simulator held to them, and fleets computed from them."""
