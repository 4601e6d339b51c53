"""The paper's tables and figures, cell by cell, each cell an ordinary job."""
