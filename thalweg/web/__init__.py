"""The page: a server on this machine that shows what lies in studies' folders, and trains nothing itself."""
