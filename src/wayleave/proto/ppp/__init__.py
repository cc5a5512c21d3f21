"""PPP: control packets, the automaton, LCP, authentication, the network protocols, and one session of all these."""
