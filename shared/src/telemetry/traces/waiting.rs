//! The finished spans, which wait for their export.
//!
//! There are as many as may be at most; what comes beyond is dropped and counted. Nobody who finishes a span waits.

use std::{sync::Mutex, time::Duration};

use opentelemetry::Context;
use opentelemetry_proto::{
    tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    transform::{
        common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use prost::Message;
use tokio::sync::mpsc;

use crate::{
    lock::lock,
    telemetry::metrics::{METRICS, SpanDropped},
};

/// Spans in one request at most.
const BATCH_SPANS: usize = 512;

/// Finished spans on their way to those who export them.
pub struct Waiting {
    provider: SdkTracerProvider,
    finished: mpsc::Receiver<SpanData>,
    resource: ResourceAttributesWithSchema,
}

/// What is sent at once.
pub struct Batch {
    /// How many spans.
    pub spans: usize,
    /// An `ExportTraceServiceRequest` in protobuf.
    pub request: Vec<u8>,
}

/// What a collector answers that has taken spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// How many of them it does not want after all.
    pub rejected: u64,
}

impl Answer {
    /// From protobuf (`ExportTraceServiceResponse`). What is none says nothing.
    pub fn read(body: &[u8]) -> Self {
        let partly = ExportTraceServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success);
        Self { rejected: partly.map_or(0, |partly| partly.rejected_spans.max(0).unsigned_abs()) }
    }
}

/// Ends the making of spans.
#[derive(Clone)]
pub struct End(SdkTracerProvider);

impl End {
    /// No spans are made any more; what waits still does.
    pub fn end(&self) {
        // It says whether there was anything to end.
        let _ = self.0.shutdown();
    }
}

impl Waiting {
    pub(super) fn new(
        provider: SdkTracerProvider,
        finished: mpsc::Receiver<SpanData>,
        resource: &Resource,
    ) -> Self {
        Self { provider, finished, resource: resource.into() }
    }

    /// What ends it.
    pub fn end(&self) -> End {
        End(self.provider.clone())
    }

    /// The next spans, as soon as there are enough for a request, and otherwise a while after the first. `None` when
    /// it has ended, and nothing waits any more.
    pub async fn next(&mut self, a_while: Duration) -> Option<Batch> {
        let mut spans = Vec::new();
        if self.finished.recv_many(&mut spans, BATCH_SPANS).await == 0 {
            return None;
        }
        let gather = async {
            loop {
                let room = BATCH_SPANS - spans.len();
                if room == 0 || self.finished.recv_many(&mut spans, room).await == 0 {
                    break;
                }
            }
        };
        // Whether there were enough in time makes no difference.
        let _ = tokio::time::timeout(a_while, gather).await;
        let number = spans.len();
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        Some(Batch { spans: number, request: ExportTraceServiceRequest { resource_spans }.encode_to_vec() })
    }
}

pub(super) fn queue(most: usize) -> (Queue, mpsc::Receiver<SpanData>) {
    let (sender, receiver) = mpsc::channel(most);
    (Queue(Mutex::new(Some(sender))), receiver)
}

/// Where spans go when they are finished, until the making of spans has ended.
#[derive(Debug)]
pub(super) struct Queue(Mutex<Option<mpsc::Sender<SpanData>>>);

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if let Some(sender) = &*lock(&self.0)
            && sender.try_send(span).is_err()
        {
            METRICS.spans_dropped.with(SpanDropped::Full).inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        lock(&self.0).take();
        Ok(())
    }
}
