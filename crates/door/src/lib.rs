//! Enforcement: who may send a first packet, and the back ends that hold it
