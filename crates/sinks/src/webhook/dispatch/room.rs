//! Bounds for requests under way. Each webhook has a share that no other webhook can take. Requests
//! beyond it use one of two rooms: one for webhooks that answer promptly, one for all others, so
//! that those that hang only delay each other.

/// Requests in a room.
const REQUESTS: usize = 256;
/// Bytes of a webhook's own share, which covers one request.
const SHARE: u64 = 64 << 10;

/// The part of a request beyond its webhook's share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestCost {
    requests: usize,
    bytes: u64,
}

impl RequestCost {
    /// Cost of a request with so many bytes, given whether the share is free.
    pub(super) fn of(size: u32, share_is_free: bool) -> Self {
        let (requests, own) = if share_is_free { (0, SHARE) } else { (1, 0) };
        Self { requests, bytes: u64::from(size).saturating_sub(own) }
    }

    /// Returns whether the request takes its webhook's share.
    pub(super) fn takes_share(self) -> bool {
        self.requests == 0
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RequestRoom {
    /// Capacity in bytes. Even the largest request fits while the room is empty.
    bytes: u64,
    taken: RequestCost,
    /// True while a request waits for more than there is: room that becomes free is reserved for
    /// it.
    is_closed: bool,
}

impl RequestRoom {
    fn new(bytes: u64) -> Self {
        Self { bytes, taken: RequestCost::default(), is_closed: false }
    }

    pub(super) fn fits(&self, cost: RequestCost) -> bool {
        let fits = self.taken.requests + cost.requests <= REQUESTS
            && self.taken.bytes + cost.bytes.min(self.bytes) <= self.bytes;
        cost == RequestCost::default() || !self.is_closed && fits
    }

    pub(super) fn take(&mut self, cost: RequestCost) {
        self.taken.requests += cost.requests;
        self.taken.bytes += cost.bytes.min(self.bytes);
    }

    pub(super) fn give_back(&mut self, cost: RequestCost) {
        self.taken.requests -= cost.requests;
        self.taken.bytes -= cost.bytes.min(self.bytes);
    }

    /// Refuses everything beyond shares.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RequestRooms {
    prompt: RequestRoom,
    others: RequestRoom,
}

impl RequestRooms {
    /// Creates both rooms, each with half of the bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let room = RequestRoom::new(bytes / 2);
        Self { prompt: room, others: room }
    }

    pub(super) fn of(&mut self, is_prompt: bool) -> &mut RequestRoom {
        if is_prompt { &mut self.prompt } else { &mut self.others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_can_be_had_whatever_is_taken() {
        let mut room = RequestRoom::new(32 << 20);
        let large = RequestCost::of(u32::MAX, false);
        assert!(room.fits(large));
        room.take(large);
        assert!(room.fits(RequestCost::of(64 << 10, true)));
        assert!(!room.fits(RequestCost::of(1, false)) && !room.fits(RequestCost::of((64 << 10) + 1, true)));
        room.give_back(large);
        room.close();
        assert!(room.fits(RequestCost::of(1, true)) && !room.fits(RequestCost::of(1, false)));
    }

    #[test]
    fn requests_are_bounded_however_small_they_are() {
        let mut room = RequestRoom::new(32 << 20);
        let small = RequestCost::of(0, false);
        let mut count = 0;
        while room.fits(small) {
            room.take(small);
            count += 1;
        }
        assert_eq!(count, REQUESTS);
    }
}
