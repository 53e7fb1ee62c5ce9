"""`flow tune`: the policy that ends the user's turn, swept over recorded users.

`evidence` hears each recorded user once, through the graph's own ears, in real time. `replay` feeds what was heard to the real owner of the
turn, on virtual time, as often as there are settings to try. `curve` makes figures of it, and chooses.
"""
