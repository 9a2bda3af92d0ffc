//! The client apparatus: enrol, knock, log in, carry traffic
