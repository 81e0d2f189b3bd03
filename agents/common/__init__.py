"""What every family of agents uses: observations and their encoders, actions, replay, exploration, schedules, seeds."""
