//! What rdkafka lacks: the id of a topic, what one may do with it, a consumer's place in one partition, record headers with any name, and whether
//! a record that was not acknowledged may be stored.
//!
//! The only crate with `unsafe`. Each function takes rdkafka's own safe handles, borrows them for the length of the call
//! and returns owned or borrowed Rust values; no pointer leaves it. librdkafka's handles may be used from any thread.

use std::ffi::{CStr, CString, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;

/// Bytes of librdkafka's error texts.
const ERROR_BYTES: usize = 256;

/// What a cluster says about a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its id in base64; all zero (`AAAAAAAAAAAAAAAAAAAAAA`) on a cluster without ids.
    pub id: String,
    /// How many partitions it has.
    pub partitions: usize,
}

/// What the one who asks may do with a topic. A cluster without an authorizer lets everybody do everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Permissions {
    /// The cluster has said so; otherwise it is taken for granted.
    pub known: bool,
    /// Read its records.
    pub read: bool,
    /// Write records.
    pub write: bool,
    /// Read its settings.
    pub describe_configs: bool,
}

/// Asks for a topic's id. Waits at most `timeout`.
///
/// # Errors
/// With the cluster's answer (`UnknownTopicOrPartition`, `TopicAuthorizationFailed`, ...) or `OperationTimedOut`.
pub fn describe<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Topic, RDKafkaErrorCode> {
    Ok(ask(client, topic, timeout, false)?.0)
}

/// Asks what may be done with a topic. Waits at most `timeout`.
///
/// # Errors
/// As [`describe`].
pub fn permissions<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Permissions, RDKafkaErrorCode> {
    Ok(ask(client, topic, timeout, true)?.1)
}

fn ask<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
    operations: bool,
) -> Result<(Topic, Permissions), RDKafkaErrorCode> {
    let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let rk = client.native_ptr();
    let began = Instant::now();
    let queue = Owned::new(
        // SAFETY: `rk` is a live handle for as long as `client` is borrowed. The queue is destroyed by `Owned`, before
        // that borrow ends.
        unsafe { sys::rd_kafka_queue_new(rk) },
        sys::rd_kafka_queue_destroy,
    )?;
    send_describe(rk, &name, timeout, operations, &queue)?;
    loop {
        let left = timeout.saturating_sub(began.elapsed());
        // SAFETY: the queue is live. The event belongs to the caller and is destroyed by `Owned`.
        let event = unsafe { sys::rd_kafka_queue_poll(queue.as_ptr(), millis(left)) };
        match Owned::new(event, sys::rd_kafka_event_destroy) {
            Ok(event) => {
                // SAFETY: the event is live.
                if unsafe { sys::rd_kafka_event_type(event.as_ptr()) }
                    == sys::RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT as c_int
                {
                    return read_description(&event);
                }
            }
            Err(_) if left.is_zero() => return Err(RDKafkaErrorCode::OperationTimedOut),
            Err(_) => {}
        }
    }
}

fn send_describe(
    rk: *mut sys::rd_kafka_t,
    name: &CStr,
    timeout: Duration,
    operations: bool,
    queue: &Owned<sys::rd_kafka_queue_t>,
) -> Result<(), RDKafkaErrorCode> {
    let mut names = [name.as_ptr()];
    let topics = Owned::new(
        // SAFETY: one pointer to a terminated text, that librdkafka copies.
        unsafe { sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()) },
        sys::rd_kafka_TopicCollection_destroy,
    )?;
    let options = Owned::new(
        // SAFETY: `rk` is live in the caller.
        unsafe { sys::rd_kafka_AdminOptions_new(rk, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS) },
        sys::rd_kafka_AdminOptions_destroy,
    )?;
    let mut text = [0; ERROR_BYTES];
    // SAFETY: the options are live, `text` is writable for the length given.
    let set = unsafe {
        sys::rd_kafka_AdminOptions_set_request_timeout(
            options.as_ptr(),
            millis(timeout).max(1),
            text.as_mut_ptr(),
            text.len(),
        )
    };
    if set != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(set.into());
    }
    if operations {
        // SAFETY: the options are live. An error belongs to the caller and is destroyed by `Owned`.
        let error = unsafe { sys::rd_kafka_AdminOptions_set_include_authorized_operations(options.as_ptr(), 1) };
        if Owned::new(error, sys::rd_kafka_error_destroy).is_ok() {
            return Err(RDKafkaErrorCode::InvalidArgument);
        }
    }
    // SAFETY: all four are live. librdkafka copies topics and options and keeps its own reference to the queue.
    unsafe { sys::rd_kafka_DescribeTopics(rk, topics.as_ptr(), options.as_ptr(), queue.as_ptr()) };
    Ok(())
}

fn read_description(event: &Owned<sys::rd_kafka_event_t>) -> Result<(Topic, Permissions), RDKafkaErrorCode> {
    let event = event.as_ptr();
    // SAFETY: the event is live and a result of DescribeTopics. Everything taken from it lives as long as it does, and
    // is copied before this returns. Counts are written by librdkafka and are the lengths of the arrays returned.
    unsafe {
        let code = sys::rd_kafka_event_error(event);
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code.into());
        }
        let mut count = 0;
        let topics =
            sys::rd_kafka_DescribeTopics_result_topics(sys::rd_kafka_event_DescribeTopics_result(event), &mut count);
        if topics.is_null() || count != 1 {
            return Err(RDKafkaErrorCode::BadMessage);
        }
        let topic = *topics;
        let code = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic));
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code.into());
        }
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
        let id = sys::rd_kafka_Uuid_base64str(sys::rd_kafka_TopicDescription_topic_id(topic));
        let id = if id.is_null() { String::new() } else { CStr::from_ptr(id).to_string_lossy().into_owned() };
        let mut count = 0;
        let operations = sys::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
        let operations = (!operations.is_null()).then(|| std::slice::from_raw_parts(operations, count));
        let may = |operation| operations.is_none_or(|operations| operations.contains(&operation));
        let permissions = Permissions {
            known: operations.is_some(),
            read: may(sys::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ),
            write: may(sys::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE),
            describe_configs: may(sys::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS),
        };
        Ok((Topic { id, partitions }, permissions))
    }
}

/// The offset after the last record, or control record, that the application has taken from a partition. `None` before
/// the first one.
///
/// [`rdkafka::consumer::Consumer::position`] asks the library's main thread for the whole assignment first; this
/// looks at the one partition.
pub fn position<C: ClientContext>(client: &Client<C>, topic: &str, partition: i32) -> Option<u64> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, partition);
    // SAFETY: both handles are live while borrowed; librdkafka writes the offset into the list's own elements.
    let code = unsafe { sys::rd_kafka_position(client.native_ptr(), list.ptr()) };
    if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    let offset = list.elements().first()?.offset().to_raw()?;
    u64::try_from(offset).ok()
}

/// Whether a record that was reported as failed may have reached the log nevertheless: the library knows whether it was
/// ever sent.
pub fn may_be_stored(message: &BorrowedMessage<'_>) -> bool {
    // SAFETY: the message is live while borrowed.
    let status = unsafe { sys::rd_kafka_message_status(message.ptr()) };
    status != sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED
}

/// The headers of a record, in order. rdkafka's own iteration panics on a name that is not UTF-8, and the name is the
/// producer's.
pub fn headers<'a>(message: &'a BorrowedMessage<'_>) -> Headers<'a> {
    let mut native = ptr::null_mut();
    // SAFETY: the message is live while borrowed; its headers live as long as it does.
    let code = unsafe { sys::rd_kafka_message_headers(message.ptr(), &mut native) };
    let native = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR { NonNull::new(native) } else { None };
    Headers { native, index: 0, of: PhantomData }
}

/// See [`headers`]: names and values as bytes; a value may be absent.
#[derive(Debug)]
pub struct Headers<'a> {
    native: Option<NonNull<sys::rd_kafka_headers_t>>,
    index: usize,
    of: PhantomData<&'a ()>,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let headers = self.native?;
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null::<c_void>(), 0);
        // SAFETY: the headers belong to a message that is borrowed for 'a. On success the name is a terminated text and
        // the value, unless null, has `size` bytes; both live as long as the headers.
        unsafe {
            let code = sys::rd_kafka_header_get_all(headers.as_ptr(), self.index, &mut name, &mut value, &mut size);
            if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            self.index += 1;
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            Some((CStr::from_ptr(name).to_bytes(), value))
        }
    }
}

/// A pointer that is destroyed at the end of its scope.
struct Owned<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self, RDKafkaErrorCode> {
        NonNull::new(pointer).map(|pointer| Self { pointer, destroy }).ok_or(RDKafkaErrorCode::Fail)
    }

    fn as_ptr(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the constructor that this destructor belongs to, and nobody else destroys it.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}
