import type {RoomRow} from '../projections/rooms.ts'

/** A room as a client gets it; to whoever is not in it, without what is said there. */
export const roomBody = ({isMember, createdAt, lastMessage, position: _, ...room}: RoomRow) => ({
  ...room,
  createdAt: createdAt.toISOString(),
  lastMessage: isMember ? lastMessage : null,
  readSeq: isMember ? -1 : null,
})
