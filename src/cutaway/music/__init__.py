"""Music as tokens: MIDI files, performances, their codecs and grammars, and what is seen and heard of them."""
