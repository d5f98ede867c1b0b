//! A whole store in one seeded process, with an oracle.
