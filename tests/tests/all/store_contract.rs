//! The contract of the stores: each sentence is held against each of them.

mod absences;
mod bells;
mod census;
mod claims;
mod content;
mod owners;
mod sessions;
mod tokens_end;
mod webhooks;
mod websockets;

/// Makes a test of each sentence for each store.
macro_rules! contract {
    ($($room:ident: $($sentence:ident),+ $(,)?;)+) => {
        mod memory {
            use crate::stores::Kind;
            contract!(@of Kind::Memory, $($room: $($sentence),+;)+);
        }
        mod redis {
            use crate::stores::Kind;
            contract!(@of Kind::Redis, $($room: $($sentence),+;)+);
        }
        mod sentinel {
            use crate::stores::Kind;
            contract!(@of Kind::Sentinel, $($room: $($sentence),+;)+);
        }
        mod cluster {
            use crate::stores::Kind;
            contract!(@of Kind::Cluster, $($room: $($sentence),+;)+);
        }
    };
    (@of $kind:expr, $($room:ident: $($sentence:ident),+;)+) => {
        $(mod $room {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() {
                let sentence = super::super::$room::$sentence($kind);
                crate::stores::APART.scope(Default::default(), sentence).await;
            })+
        })+
    };
}

contract! {
    sessions:
        a_topic_never_seen_has_revision_0_and_no_fields,
        a_commit_writes_and_deletes_fields_and_counts_those_that_do,
        a_commit_that_holds_on_any_revision_meets_no_conflict,
        a_commit_on_another_revision_changes_nothing_and_answers_the_session,
        the_same_commit_happens_once_whatever_its_revision,
        a_request_is_recognised_for_the_time_of_resends_and_a_cause_longer,
        an_announcement_is_made_once_for_as_far_as_it_goes,
        topics_share_nothing,
        each_entry_names_its_predecessor_and_pages_join,
        positions_are_of_the_stores_clock,
        of_eight_writers_on_one_revision_one_wins,
        a_log_is_trimmed_by_count_and_the_gap_can_be_seen,
        a_log_is_trimmed_by_bytes_and_the_gap_can_be_seen,
        a_log_is_trimmed_by_age_and_its_head_stays,
        the_living_workers_are_known_to_all;
    census:
        every_subscription_is_counted_as_what_it_is_in_its_partition,
        what_is_due_is_listed_with_its_age_until_it_is_claimed;
    bells:
        an_entry_carries_its_trace_over_the_bell_and_into_the_log,
        every_entry_rings_once_in_order_in_every_process,
        a_bell_is_heard_in_its_topic_alone,
        what_a_subscription_appends_rings_as_well,
        who_listens_too_slowly_is_told_to_read,
        what_becomes_due_rings_in_the_partitions_that_are_watched;
    websockets:
        a_subscription_is_found_by_its_id_with_its_lease,
        a_topic_has_no_more_than_its_limit,
        what_has_ended_leaves_its_place_to_another,
        a_lease_that_is_over_ends_the_subscription,
        renewing_replaces_the_terms_and_tells_who_holds_it,
        renewing_gives_the_lease_anew,
        what_is_not_there_cannot_be_renewed,
        attaching_gives_the_session_until_there_is_a_cursor,
        a_newer_connection_takes_over_and_the_older_is_told,
        what_is_not_there_cannot_be_attached,
        within_its_grace_a_subscription_is_taken_again,
        renewing_within_its_grace_ends_the_grace,
        after_its_grace_a_subscription_is_lost,
        an_activation_appends_behind_its_cursor,
        an_activation_on_another_revision_changes_nothing,
        only_who_holds_it_activates,
        a_cursor_moves_forward_only_and_not_before_the_activation,
        an_older_connection_moves_nothing_and_lets_go_of_nothing,
        ending_removes_it_and_tells_who_holds_it,
        ending_a_websocket_touches_no_webhook;
    webhooks:
        a_request_is_due_and_no_subscription_until_it_is_verified,
        a_verified_request_is_in_force,
        verifying_again_puts_new_terms_into_force_and_keeps_the_cursor,
        a_verification_on_another_revision_changes_nothing,
        a_newer_request_outlives_the_verification_of_an_older,
        a_topic_has_no_more_than_its_limit,
        only_what_is_in_force_can_be_asked_to_end,
        what_nobody_has_confirmed_is_taken_back_and_no_answer_puts_it_into_force,
        what_is_taken_back_after_a_lease_leaves_the_end_to_be_told,
        a_request_waits_for_the_claim_and_then_for_nobody,
        an_answered_request_is_gone_and_another_stays,
        what_was_never_verified_and_is_answered_is_gone,
        a_lease_that_is_over_leaves_nothing_to_deliver,
        verifying_again_after_the_lease_begins_anew,
        an_end_by_the_claim_spares_a_newer_request,
        what_has_ended_is_gone_from_everywhere;
    claims:
        a_commit_makes_due_who_is_idle_and_nobody_else,
        a_claim_reads_what_comes_after_the_cursor_up_to_its_bound,
        a_claim_holds_until_its_time_is_over_and_the_next_makes_it_void,
        progress_is_kept_for_the_next_claim,
        the_tries_of_a_verification_are_kept_as_well,
        a_request_waits_for_its_pause_and_a_newer_one_does_not,
        who_goes_idle_with_entries_left_is_due_at_once,
        who_gives_back_for_later_is_due_then,
        who_holds_on_stays_the_holder,
        the_longest_due_comes_first_in_each_partition,
        first_entries_and_changes_of_sockets_make_nobody_due;
    content:
        content_is_kept_replaced_and_removed_by_name,
        what_a_field_names_is_removed_with_it,
        content_that_may_not_be_changes_nothing,
        bytes_are_given_back,
        content_is_of_one_revision;
    absences:
        who_is_away_is_due_and_claimed_with_what_it_misses,
        why_it_is_away_is_kept,
        who_comes_back_is_due_no_more_and_voids_the_claim,
        who_subscribes_again_while_away_has_its_grace_anew,
        what_ends_while_away_is_gone_and_nobody_is_told,
        a_lease_that_is_over_is_due_under_its_socket_and_its_node_hears_of_the_end,
        a_grace_does_not_outlive_the_lease,
        whether_a_subscriber_answers_is_kept,
        who_begins_anew_reads_from_the_head,
        a_node_is_alive_as_long_as_it_says_so,
        what_a_dead_node_held_is_let_go_of;
    owners:
        a_socket_is_renewed_and_ended_by_its_owner_alone,
        what_is_nobodys_is_not_for_an_owner,
        whoever_is_nobody_may_do_everything,
        a_callback_in_force_is_its_owners_alone,
        a_callback_that_waits_to_be_verified_is_its_owners_alone,
        a_callback_that_has_ended_is_free_for_another,
        a_callback_whose_lease_is_over_is_free_for_another,
        the_hub_ends_what_anybody_owns;
    tokens_end:
        a_lease_ends_with_the_token,
        a_token_that_has_ended_begins_nothing,
        a_renewal_ends_with_its_own_token,
        a_webhook_verified_late_ends_with_its_token;
}
