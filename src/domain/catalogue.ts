import {type AccessEvent, CommandRefused, SignedIn, SignInFailed} from './access.ts'
import {type ChatEvent, MessageSent} from './chat.ts'
import type {EventType} from './event.ts'
import {HistoryBegan, type HistoryEvent} from './history.ts'
import {IdentityClaimed, type IdentityEvent, IdentityReleased} from './identity.ts'
import {
  ErasureOrdered,
  MasterKeyRotated,
  type OperationsEvent,
  ProjectionRebuilt,
  ProjectionRolledBack,
} from './operations.ts'
import {PostCreated, type PostEvent} from './post.ts'
import {InvitationDeclined, RoomCreated, type RoomEvent, UserInvited, UserJoined, UserLeft} from './room.ts'
import {FileUploaded} from './upload.ts'
import {
  PasswordChanged,
  PasswordResetRequested,
  ProfileChanged,
  UserErased,
  type UserEvent,
  UserRegistered,
  UserVerified,
  VerificationRequested,
} from './user.ts'

export type DomainEvent =
  | AccessEvent
  | ChatEvent
  | HistoryEvent
  | IdentityEvent
  | OperationsEvent
  | PostEvent
  | RoomEvent
  | UserEvent

/** Every event type there is. The codec knows no other. */
export const catalogue: ReadonlyMap<string, EventType> = new Map(
  [
    HistoryBegan,
    IdentityClaimed,
    IdentityReleased,
    UserRegistered,
    VerificationRequested,
    UserVerified,
    PasswordResetRequested,
    PasswordChanged,
    ProfileChanged,
    UserErased,
    FileUploaded,
    SignedIn,
    SignInFailed,
    CommandRefused,
    PostCreated,
    RoomCreated,
    UserInvited,
    UserJoined,
    UserLeft,
    InvitationDeclined,
    MessageSent,
    ProjectionRebuilt,
    ProjectionRolledBack,
    ErasureOrdered,
    MasterKeyRotated,
  ].map((type) => [type.type, type as unknown as EventType]),
)
