//! Test support: hosts in network namespaces, capture, roles as processes
