"""Music as tokens: MIDI files, performances, codecs, grammars, piano rolls and sound."""
