//! Knock, admission, login and link messages: pure state machines and codecs
