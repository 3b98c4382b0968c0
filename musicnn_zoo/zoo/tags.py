"""Tag vocabularies, in the order of the models' outputs."""

from __future__ import annotations

MTT_TAGS: tuple[str, ...] = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast",
    "piano", "ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male",
    "singing", "vocals", "no vocals", "harpsichord", "loud", "quiet", "flute", "woman",
    "male vocal", "no vocal", "pop", "soft", "sitar", "solo", "man", "classic", "choir", "voice",
    "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello", "no voice",
    "weird", "country", "metal", "female voice", "choral",
)  # fmt: skip
"""The 50 most frequent tags of MagnaTagATune."""

MSD_TAGS: tuple[str, ...] = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s",
    "alternative rock", "jazz", "beautiful", "metal", "chillout", "male vocalists",
    "classic rock", "soul", "indie rock", "Mellow", "electronica", "80s", "folk", "90s", "chill",
    "instrumental", "punk", "oldies", "blues", "hard rock", "ambient", "acoustic", "experimental",
    "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening", "sexy",
    "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop",
    "sad", "House", "happy",
)  # fmt: skip
"""The 50 most frequent Last.fm tags of the Million Song Dataset."""

JAMENDO_TAGS: tuple[str, ...] = (
    *(
        f"genre---{genre}"
        for genre in (
            "alternative", "ambient", "atmospheric", "chillout", "classical", "dance",
            "downtempo", "easylistening", "electronic", "experimental", "folk", "funk", "hiphop",
            "house", "indie", "instrumentalpop", "jazz", "lounge", "metal", "newage",
            "orchestral", "pop", "popfolk", "poprock", "reggae", "rock", "soundtrack", "techno",
            "trance", "triphop", "world",
        )
    ),
    *(
        f"instrument---{instrument}"
        for instrument in (
            "acousticguitar", "bass", "computer", "drummachine", "drums", "electricguitar",
            "electricpiano", "guitar", "keyboard", "piano", "strings", "synthesizer", "violin",
            "voice",
        )
    ),
    *(
        f"mood/theme---{mood}"
        for mood in ("emotional", "energetic", "film", "happy", "relaxing")
    ),
)  # fmt: skip
"""The 50 most frequent tags of MTG-Jamendo, spelled as in its own files."""

VOCABULARIES: dict[str, tuple[str, ...]] = {
    "MTT": MTT_TAGS,
    "MSD": MSD_TAGS,
    "Jamendo": JAMENDO_TAGS,
}
"""Vocabulary by the name of its data set."""
