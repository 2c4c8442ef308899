//! Why an attempt ended as it did, as one of a closed set of words: no value of a request can be among them.

use std::fmt;

/// Why, in a stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    // What Novu says in a 201 that it will not do.
    TriggerNotActive,
    NoTenantFound,
    InvalidRecipients,
    NoWorkflowSteps,
    NoActiveWorkflowSteps,
    SubscriberIdMissing,
    Error,
    /// One that a later Novu may have.
    UnknownStatus,
    // What Novu says of the request.
    WorkflowNotFound,
    InvalidPayload,
    /// The same delivery is being worked on at Novu.
    InProgress,
    /// The key was used for another body.
    KeyReused,
    Status(u16),
    /// A success that is not in Novu's form.
    NotNovu,
    /// A failure that is not in Novu's form.
    NotNovuStatus(u16),
    // Where there was no answer.
    TlsFailed,
    Unreachable,
    Timeout,
    ConnectionLost,
    // What follows from it.
    Throttled,
    /// Turned down in company, perhaps for the sake of another.
    RejectedInBulk,
    /// The answer to a call for many does not say which is which.
    BulkMismatch,
    GaveUp,
}

/// The statuses that a 201 of Novu's can have beside `processed` (its `TriggerEventStatusEnum`).
const REFUSALS: [Reason; 7] = [
    Reason::TriggerNotActive,
    Reason::NoTenantFound,
    Reason::InvalidRecipients,
    Reason::NoWorkflowSteps,
    Reason::NoActiveWorkflowSteps,
    Reason::SubscriberIdMissing,
    Reason::Error,
];

impl Reason {
    /// The reason that a word stands for, among those that hold a key back.
    pub fn of_hold(word: &str) -> Option<Self> {
        let status = |prefix: &str| word.strip_prefix(prefix)?.parse().ok();
        match word {
            "not_novu" => Some(Self::NotNovu),
            "tls_failed" => Some(Self::TlsFailed),
            _ => status("not_novu_").map(Self::NotNovuStatus).or_else(|| status("status_").map(Self::Status)),
        }
    }

    /// The reason that a status in a 201 stands for.
    pub fn of_refusal(status: &str) -> Option<Self> {
        REFUSALS.into_iter().find(|reason| reason.to_string() == status)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TriggerNotActive => "trigger_not_active",
            Self::NoTenantFound => "no_tenant_found",
            Self::InvalidRecipients => "invalid_recipients",
            Self::NoWorkflowSteps => "no_workflow_steps_defined",
            Self::NoActiveWorkflowSteps => "no_workflow_active_steps_defined",
            Self::SubscriberIdMissing => "subscriber_id_missing",
            Self::Error => "error",
            Self::UnknownStatus => "unknown_status",
            Self::WorkflowNotFound => "workflow_not_found",
            Self::InvalidPayload => "status_400_payload_validation_error",
            Self::InProgress => "in_progress",
            Self::KeyReused => "idempotency_key_reused",
            Self::Status(code) => return write!(formatter, "status_{code}"),
            Self::NotNovu => "not_novu",
            Self::NotNovuStatus(code) => return write!(formatter, "not_novu_{code}"),
            Self::TlsFailed => "tls_failed",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::ConnectionLost => "connection_lost",
            Self::Throttled => "throttled",
            Self::RejectedInBulk => "rejected_in_bulk",
            Self::BulkMismatch => "bulk_mismatch",
            Self::GaveUp => "gave_up",
        })
    }
}
