export { addressOf, dial, isLoopback, transportOf, wayProblem, type Dialing } from './dial.js';
export { Session, type SessionEnd, type SessionOrder } from './session.js';
