//! What I have been handed and have cast, to be carried outside the group, and when all hold it.

use super::Group;
use crate::flush::FlushId;
use sistrum_ordering::{CausalContext, ContextError};
use sistrum_transport::reliable::Refused;

impl Group {
    /// Everything that I have been handed and have cast so far, to be carried to another member outside the group. A cast that is held for
    /// the next view is not named: that view has contexts of its own.
    ///
    /// # Errors
    /// [`ContextError::NoView`] before the first view, and as long as I [am taking over](Self::is_taking_over) the state.
    pub fn causal_context(&self) -> Result<CausalContext, ContextError> {
        let running = self.told_streams().ok_or(ContextError::NoView)?;
        let own = running.session.stream();
        // What is about to be handed to me counts too: a context may name more than it must, never less.
        let mut upto = own.outbound().seen().to_vec();
        // A block that is still open will be sealed as the next one, whatever joins it.
        upto[running.view.me().0 as usize] = own.cast_up_to();
        Ok(CausalContext::new(running.view.id(), upto))
    }

    /// Whether everything that `context` names has been handed to me.
    ///
    /// # Errors
    /// When it is of another group or view, or there is no view here yet.
    pub fn has_reached(&self, context: &CausalContext) -> Result<bool, ContextError> {
        let running = self.told_streams().ok_or(ContextError::NoView)?;
        let delivered = running.session.layer().causal().delivered_up_to();
        // Before the view is told, what was delivered of the one before it may not all have been handed over.
        Ok(context.is_reached(running.view.id(), delivered)? && running.told)
    }

    /// Whether every member holds everything that `context` names, as far as is known here. Of my own context, it is the end of a
    /// flush: whatever I do outside the group from then on, no failure undoes its causes.
    ///
    /// # Errors
    /// When it is of another group or view, or there is no view here yet.
    pub fn is_stable(&self, context: &CausalContext) -> Result<bool, ContextError> {
        let running = self.running.as_ref().ok_or(ContextError::NoView)?;
        context.is_reached(running.view.id(), running.session.layer().causal().stable_up_to())
    }

    /// Asks for [`Event::Flushed`](crate::Event::Flushed), which comes once, when every member holds everything that I have cast and been handed so far.
    /// What is in an open block is sent by the present or the next cycle.
    ///
    /// # Errors
    /// [`Refused::NoView`] before the first view.
    pub fn flush(&mut self) -> Result<FlushId, Refused> {
        let context = self.causal_context().map_err(|_| Refused::NoView)?;
        let running = self.running.as_mut().ok_or(Refused::NoView)?;
        let covers_held = running.session.stream().held() > 0;
        Ok(running.flushes.ask(context.upto().to_vec(), covers_held))
    }
}
