package main

// canTellTTL says that this system drops segments below IP_MINTTL.
const canTellTTL = true
