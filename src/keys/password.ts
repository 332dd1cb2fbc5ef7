import bcrypt from 'bcrypt'

/** bcrypt, in libuv's thread pool. `cost` is the logarithm of the rounds. */
export const hashPassword = (password: string, cost: number): Promise<string> => bcrypt.hash(password, cost)

const nobodys = new Map<number, Promise<string>>()

/** With no hash it takes as long, against a hash that no password has, and says no. A password over 72 bytes is never right. */
export const comparePassword = async (password: string, hash: string | null, cost: number): Promise<boolean> => {
  let nobody = nobodys.get(cost)
  if (!nobody) {
    nobody = bcrypt.hash(crypto.randomUUID(), cost)
    nobodys.set(cost, nobody)
  }
  const matches = await bcrypt.compare(password, hash ?? (await nobody))
  return matches && hash !== null && Buffer.byteLength(password) <= 72 && !password.includes('\0')
}
