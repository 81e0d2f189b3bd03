"""What agents share that ascend the gradient of a policy: the policy, its rollouts and what an update minimises."""
