import type {RoomRow} from '../projections/rooms.ts'

/** A room as a client gets it who has read up to `readSeq`; to whoever is not in it, without what is said there. */
export const roomBody = (
  {isMember, createdAt, lastMessage, position: _, ...room}: RoomRow,
  readSeq: (roomId: string) => number,
) => ({
  ...room,
  createdAt: createdAt.toISOString(),
  lastMessage: isMember ? lastMessage : null,
  readSeq: isMember ? readSeq(room.id) : null,
})
