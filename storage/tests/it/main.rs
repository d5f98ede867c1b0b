//! The store through its public interface.

mod basics;
mod crash;
mod damage;
mod support;
