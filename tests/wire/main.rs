//! Byte-exact tests of both MQTT versions, by clause, against a broker process.

mod alias;
mod backpressure;
mod bad_config;
mod bad_input;
mod connect;
mod disconnect;
mod expiry;
mod flow;
mod isolation;
mod keep_alive;
mod limits;
mod options;
mod properties;
mod qos1;
mod qos2;
mod retained;
mod session;
mod shared;
mod takeover;
mod tls;
mod topics;
mod users;
mod will;
